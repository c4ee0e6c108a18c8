// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";

/// @title A worthless token with the six decimals, permits and authorizations of common dollar tokens, for devnets and
/// test networks.
/// @notice Anyone may mint any amount: it must never be taken for money.
contract TestToken is ERC20Permit, ERC3009 {
    constructor() ERC20("ComputeFabric Test Dollar", "tUSD") ERC20Permit("ComputeFabric Test Dollar") {}

    /// @notice Give `account` `amount` units out of thin air.
    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }

    /// @inheritdoc ERC20
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
