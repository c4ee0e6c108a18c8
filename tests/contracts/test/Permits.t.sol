// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IEscrow, IToken} from "./Escrow.sol";
import {Rig} from "./Rig.sol";

/// @title Money comes in by signature: EIP-2612 permits and EIP-3009 authorizations, and what happens when they fail.
contract PermitsTest is Rig {
    /// @dev The arguments of both calls in their order, so that one `abi.encode` makes the call.
    struct Permitted {
        Sides to;
        uint96 amount;
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    struct Authorized {
        Sides to;
        uint96 amount;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 salt;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    uint256 private constant LATER = 1_800_000_100;

    function setUp() public {
        _deployAll();
        token.mint(sides.payer, 100);
        token.mint(stranger, 100);
    }

    function _permitted(uint256 key, uint96 amount, uint256 deadline) private view returns (Permitted memory made) {
        bytes32 kind =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        address owner = vm.addr(key);
        bytes32 inner = keccak256(abi.encode(kind, owner, address(escrow), amount, token.nonces(owner), deadline));
        made = Permitted(sides, amount, deadline, 0, 0, 0);
        (made.v, made.r, made.s) = vm.sign(key, _ofToken(inner));
    }

    function _authorized(Sides memory to, uint96 amount, bytes32 salt) private view returns (Authorized memory made) {
        bytes32 kind = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,"
            "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        bytes32 lane = keccak256(abi.encodePacked(to.payer, to.provider, to.signer));
        bytes32 nonce = keccak256(abi.encodePacked(lane, salt));
        bytes32 inner = keccak256(abi.encode(kind, to.payer, address(escrow), amount, LATER - 500, LATER, nonce));
        made = Authorized(to, amount, LATER - 500, LATER, salt, 0, 0, 0);
        (made.v, made.r, made.s) = vm.sign(PAYER, _ofToken(inner));
    }

    function _ofToken(bytes32 inner) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), inner));
    }

    function _call(Permitted memory made) private pure returns (bytes memory) {
        return bytes.concat(IEscrow.depositWithPermit.selector, abi.encode(made));
    }

    function _call(Authorized memory made) private pure returns (bytes memory) {
        return bytes.concat(IEscrow.depositWithAuthorization.selector, abi.encode(made));
    }

    function _approved(address owner, uint256 amount) private {
        vm.prank(owner);
        token.approve(address(escrow), amount);
    }

    // --- permits

    function test_a_permit_takes_the_place_of_an_approval() public {
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(sides.payer, sides.provider, sides.signer, 40);
        require(_tried(stranger, _call(_permitted(STRANGER, 40, LATER))), "the sender's own permit");
        _same(_lane(sides).balance, 40, "balance");
        _same(token.balanceOf(stranger), 60, "who signed pays");
        _same(_lane(sides).delaySeconds, WINDOW, "delay");
    }

    function test_a_permit_that_somebody_used_up_before_still_counts() public {
        Permitted memory made = _permitted(PAYER, 40, LATER);
        token.permit(sides.payer, address(escrow), 40, LATER, made.v, made.r, made.s);
        require(_tried(sides.payer, _call(made)), "A17: the allowance is there");
        _same(_lane(sides).balance, 40, "balance");
        require(!_tried(sides.payer, _call(made)), "and is spent");
    }

    function test_a_bad_permit_and_no_allowance_pays_nothing() public {
        require(!_tried(stranger, _call(_permitted(PAYER, 40, LATER))), "somebody else's permit");
        require(!_tried(sides.payer, _call(_permitted(PAYER, 40, block.timestamp - 1))), "an old permit");
        Permitted memory made = _permitted(PAYER, 40, LATER);
        made.amount = 41;
        require(!_tried(sides.payer, _call(made)), "another amount");
        _same(_lane(sides).balance, 0, "balance");
        _approved(sides.payer, 41);
        require(_tried(sides.payer, _call(made)), "the allowance decides");
        _same(_lane(sides).balance, 41, "balance");
    }

    function test_a_permitted_deposit_obeys_the_rules_of_deposits() public {
        _refused(sides.payer, _call(_permitted(PAYER, 0, LATER)), IEscrow.ZeroAmount.selector);
        Permitted memory made = _permitted(PAYER, 1, LATER);
        made.to.signer = address(0);
        _refused(sides.payer, _call(made), IEscrow.NotAParty.selector, address(0));
    }

    // --- authorizations

    function test_anyone_may_send_an_authorization() public {
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(sides.payer, sides.provider, sides.signer, 40);
        require(_tried(stranger, _call(_authorized(sides, 40, "salt"))), "sent by a stranger");
        _same(_lane(sides).balance, 40, "balance");
        _same(token.balanceOf(sides.payer), 60, "the payer pays");
        _same(token.balanceOf(stranger), 100, "the sender does not");
        require(_tried(sides.payer, _call(_authorized(sides, 40, "another"))), "sent by the payer");
        _same(_lane(sides).balance, 80, "another salt is another deposit");
    }

    function test_an_authorization_is_bound_to_its_lane() public {
        Authorized memory made = _authorized(sides, 40, "salt");
        for (uint256 place; place < 2; ++place) {
            made.to = Sides(sides.payer, sides.provider, sides.signer);
            if (place == 0) made.to.provider = stranger;
            else made.to.signer = stranger;
            _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        }
        made = _authorized(sides, 40, "salt");
        made.salt = "other";
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        made = _authorized(sides, 40, "salt");
        made.amount = 41;
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        made = _authorized(sides, 40, "salt");
        made.to.payer = stranger;
        _approved(stranger, 100);
        _refused(sides.payer, _call(made), IEscrow.AuthorizationRefused.selector);
    }

    function test_an_authorization_has_its_time() public {
        Authorized memory made = _authorized(sides, 40, "salt");
        vm.warp(LATER - 500);
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        vm.warp(LATER);
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        vm.warp(LATER - 1);
        require(_tried(stranger, _call(made)), "just in time");
    }

    function test_an_authorization_is_never_paid_twice() public {
        Authorized memory made = _authorized(sides, 40, "salt");
        require(_tried(stranger, _call(made)), "first");
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        _approved(sides.payer, 60);
        _refused(sides.payer, _call(made), IEscrow.AuthorizationSpent.selector);
        _same(_lane(sides).balance, 40, "balance");
    }

    function test_the_payer_falls_back_on_its_allowance_and_nobody_elses() public {
        Authorized memory made = _authorized(sides, 40, "salt");
        made.v = made.v == 27 ? 28 : 27;
        _approved(stranger, 100);
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        require(!_tried(sides.payer, _call(made)), "no allowance");
        _approved(sides.payer, 40);
        require(_tried(sides.payer, _call(made)), "A17");
        _same(_lane(sides).balance, 40, "balance");
        _same(token.balanceOf(sides.payer), 60, "paid once");
        _same(token.allowance(sides.payer, address(escrow)), 0, "by allowance");
    }

    function test_an_authorized_deposit_obeys_the_rules_of_deposits() public {
        Sides memory nobody = Sides(sides.payer, sides.provider, address(0));
        _refused(stranger, _call(_authorized(nobody, 1, "a")), IEscrow.NotAParty.selector, address(0));
        _refused(stranger, _call(_authorized(sides, 0, "a")), IEscrow.ZeroAmount.selector);
    }

    // --- tokens that know neither

    function test_a_plain_token_is_paid_by_allowance() public {
        token = _deployOddToken("TinyToken");
        escrow = IEscrow(_deployEscrow(address(token), STEP, DEFAULT_STEPS));
        token.mint(sides.payer, 100);
        Authorized memory made = Authorized(sides, 40, 0, LATER, "salt", 27, "r", "s");
        _refused(stranger, _call(made), IEscrow.AuthorizationRefused.selector);
        _approved(sides.payer, 80);
        require(_tried(sides.payer, _call(made)), "authorization");
        require(_tried(sides.payer, _call(Permitted(sides, 40, LATER, 27, "r", "s"))), "permit");
        _same(_lane(sides).balance, 80, "balance");
        _same(token.balanceOf(address(escrow)), 80, "held");
    }

    function test_a_token_that_accepts_everything_gives_no_credit() public {
        token = _deployOddToken("SilentToken");
        escrow = IEscrow(_deployEscrow(address(token), STEP, DEFAULT_STEPS));
        token.mint(sides.payer, 100);
        Authorized memory made = Authorized(sides, 40, 0, LATER, "salt", 27, "r", "s");
        bytes memory nothingCame = abi.encodeWithSelector(IEscrow.TokenTookAFee.selector, 0, 40);
        _refused(stranger, _call(made), nothingCame);
        _refused(sides.payer, _call(made), nothingCame);
        require(!_tried(sides.payer, _call(Permitted(sides, 40, LATER, 27, "r", "s"))), "permit without effect");
        _same(_lane(sides).balance, 0, "balance");
    }
}
