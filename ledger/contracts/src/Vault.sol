// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// @title Vault: one token, taken in and paid out to the unit, and the signatures that count here.
/// @dev Holds no books of its own. Whoever inherits writes its books first and calls {_collect} or {_pay} last, under
/// the guard, so that a token with hooks finds nothing half done (A11).
abstract contract Vault is EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice The only token this escrow will ever hold (A8).
    IERC20 public immutable token;

    error NotAToken(address token);
    error NotAParty(address account);
    error ZeroAmount();
    error TokenTookAFee(uint256 arrived, uint256 expected);

    /// @param token_ An ERC-20 without transfer fees and without rebasing (A11).
    constructor(IERC20 token_) EIP712("ComputeFabric Escrow", "1") {
        if (address(token_).code.length == 0) revert NotAToken(address(token_));
        token = token_;
    }

    /// @dev Take `amount` from the sender's allowance.
    function _collect(uint256 amount) internal {
        uint256 before = _held();
        token.safeTransferFrom(msg.sender, address(this), amount);
        _requireArrived(before, amount);
    }

    function _pay(address to, uint256 amount) internal {
        if (amount != 0) token.safeTransfer(to, amount);
    }

    function _held() internal view returns (uint256) {
        return token.balanceOf(address(this));
    }

    /// @dev The books must equal the tokens at hand (I1), which a token that keeps a fee would break (A11).
    function _requireArrived(uint256 before, uint256 amount) internal view {
        uint256 arrived = _held() - before;
        if (arrived != amount) revert TokenTookAFee(arrived, amount);
    }

    /// @dev The escrow itself is refused too: what it paid to itself nobody could ever take out.
    function _requireParty(address account) internal view {
        if (account == address(0) || account == address(this)) revert NotAParty(account);
    }

    /// @dev Signatures of 64 (EIP-2098) or 65 bytes, in their low-s form only (A7).
    function _isSignedBy(address party, bytes32 digest, bytes calldata signature) internal pure returns (bool) {
        (uint8 v, bytes32 r, bytes32 s) = ECDSA.parseCalldata(signature);
        (address recovered, ECDSA.RecoverError failure,) = ECDSA.tryRecover(digest, v, r, s);
        return failure == ECDSA.RecoverError.NoError && recovered == party;
    }
}
